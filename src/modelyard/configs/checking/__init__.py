"""Every check of a config, and the reports of what was found. Changes nothing, executes nothing."""
