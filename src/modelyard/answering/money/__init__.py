"""What answers cost: prices, worst cases, budgets and the ledger that holds them across processes.

Does not know who is asked or how a call is made.
"""
