"""Encoders: teachers, students, image towers, and the model that is saved."""
