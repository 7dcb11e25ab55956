"""What runs on a device. It carries the base install alone, and knows of the cloud only what is in `tinymlops.wire`."""
