"""Source layouts that become partitions, one file each."""
