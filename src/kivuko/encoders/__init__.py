"""Encoders: teachers, students, image towers, and the bundle that is saved."""
