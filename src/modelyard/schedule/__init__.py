"""What a project does at fixed times: its jobs, as lines of a crontab or as units of systemd."""
