"""The former place of `modelyard.deployments`; programs of 2026-11 import from it."""
