"""Running a suite: every sample and repeat is asked, judged and written down, and ends in exactly one outcome."""
