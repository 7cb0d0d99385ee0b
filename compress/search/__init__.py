"""Choosing by what things cost when they run: tables of measured costs, and the knapsack over them."""
