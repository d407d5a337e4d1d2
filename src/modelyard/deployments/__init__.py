"""What is live in each environment: plans, revisions, the switch of a profile, what holds now."""
