"""Charts as inline SVG, the numbers behind them, and the shell of the pages that show them.

Does not know what is drawn.
"""
