"""Source to Model: one frontend a framework; foreign code runs in a child process only, and every Model is compared with its source."""
