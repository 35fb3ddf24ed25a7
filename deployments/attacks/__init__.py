"""Attacks on ourselves: hostile files, hostile clients, and what a server looks like before, during and after them."""
