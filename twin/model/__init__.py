"""What every device should be saying: state arrays, expectation, advance. Pure."""
