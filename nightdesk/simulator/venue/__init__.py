"""The market's side: accounts, orders, matching, and the log from which they are rebuilt."""
