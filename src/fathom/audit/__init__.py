"""Rules of the five pitfalls and checks of integrity, for stores and for published studies."""
