"""What compression did to groups of people: shares of errors before and after, from tables that name nobody."""
