"""What was answered, and how fast: records samples, folds them into traffic.db, reads them.

Owns traffic.db, in which nothing is money or a permission: losing it loses figures, and no budget,
key or history. Does not know how an answer is made.
"""
