-- Address of a recording in its store, with a moment as a media fragment; null where the key holds masked ids or the store is unknown.
CREATE MACRO recording_link(recordings_uri, key, at_s) AS
    CASE WHEN NOT contains(key, '~') THEN rtrim(recordings_uri, '/') || '/' || key || coalesce('#t=' || round(at_s, 1), '') END
