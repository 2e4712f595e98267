#!/bin/sh
# unpack.sh FOLDER PACKAGE...: what Debian's packages hold, without installing them and without what they start.
set -eu
folder=$1
shift
command -v apt-get >/dev/null || { echo "no apt-get here: of Debian's packages none is unpacked" >&2; exit 1; }
mkdir -p "$folder"
cd "$folder"
[ "$(id -u)" -ne 0 ] || apt-get update -qq
apt-get download -qq -o APT::Sandbox::User=root "$@"
for package in *.deb; do
  dpkg -x "$package" .
done
rm -f ./*.deb
