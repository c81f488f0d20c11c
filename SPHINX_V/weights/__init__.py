"""Weight files: reading, writing, re-sharding and inspecting; everything goes tensor by tensor."""
