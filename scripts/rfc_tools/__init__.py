"""Reading the RFCs: their requirements as data, what is rendered into them, and what is checked of them."""
