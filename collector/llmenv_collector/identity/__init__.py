"""Who may talk to this collector: the CA, machines, tokens, labels, and what people decided about them."""
