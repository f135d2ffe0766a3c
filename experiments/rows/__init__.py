"""Recorded results: one JSON file for each, its comparison with a new run, and the pages' tables written from them."""
