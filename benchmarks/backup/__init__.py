"""Backups against their bars, beside restic and tar: `make bench-backup`."""
