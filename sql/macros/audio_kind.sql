-- What anger is compared within: codec, sampling rate and language, as of two calls that differ in them neither is the angrier for certain.
CREATE MACRO audio_kind(codec, sampling_rate_hz, language) AS
    concat_ws(' ', codec, sampling_rate_hz, lower(language))
