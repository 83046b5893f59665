"""What people use trained models with."""
