"""How often players reach their goals, on frozen pairs."""
