"""What others ask of a running agent over HTTP: does it live, is it ready, what does it count."""
