"""What is done to data that is there: it is verified, freed of leftovers, and divided anew."""
