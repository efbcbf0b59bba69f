"""The scrub: files written anew, so that what was deleted is in none of them."""
