"""Who may use the service, and the record of who did: API keys, and the audit log.

Does not know HTTP, and not what is asked.
"""
