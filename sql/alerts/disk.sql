-- Is there little room left where the lake or scratch lies?
-- Grain: one row per place with a smaller share free than $below. A lake on S3 has no such figure.
-- Units: free_gb in 10^9 bytes, free_share 0 to 1.
SELECT place AS subject, free_bytes / 1e9 AS free_gb, free_bytes / total_bytes AS free_share
FROM disks
WHERE free_bytes / total_bytes < $below
