"""The engine `whisper`, on openai-whisper."""
