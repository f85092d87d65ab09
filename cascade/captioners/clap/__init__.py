"""The engines on msclap: `clapcap`, `clap-sound`, `clap-music`."""
