"""What `calibeval.score` is made of: pairing files, reading cases, making rows, and running all of it in processes."""
