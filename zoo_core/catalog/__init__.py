"""What there is, by name: plugins, specs, tags; finding and listing import no torch."""
