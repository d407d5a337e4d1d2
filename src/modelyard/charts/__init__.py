"""Charts as inline SVG, and the numbers behind them. Does not know what is drawn."""
