"""Files kept between runs: decoded images, JPEG shards and features."""
