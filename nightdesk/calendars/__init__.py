"""When CME Group's markets trade: compiled tables, the products they are for, and a user's corrections to them."""
