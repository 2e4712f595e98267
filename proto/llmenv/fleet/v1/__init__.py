"""Version 1 of the fleet contract; generated from the .proto files beside this one."""
