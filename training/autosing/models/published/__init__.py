"""Published vocoders and SNAC: their networks under the names of their weights, and what reads their layouts."""
