"""The commands below `models config`: one file each."""
