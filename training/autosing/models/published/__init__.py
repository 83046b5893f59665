"""Published vocoders: their networks under the names of their weights, and what makes model directories of them."""
