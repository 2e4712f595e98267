"""Files of measurements made elsewhere: read, judged and stored."""
