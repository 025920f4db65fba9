-- id: out-of-region
-- title: Leased devices out of their region
-- title-zh: 超出约定区域使用的租赁物
-- clause: leasing supervision rules, art. 9: a device stays in the region that was agreed
-- clause-zh: 租赁监管规则第九条：租赁物应在约定区域内使用
-- severity: high
-- subject: lease_id
-- owner: lessee
SELECT lease.lease_id AS lease_id,
       lease.lessee AS lessee,
       lease.device AS device,
       COUNT(*) AS readings,
       MIN(reading.measured_at) AS first_at,
       MAX(reading.measured_at) AS last_at
FROM leasing.lease AS lease
JOIN operation_supervision.reading AS reading
  ON reading.device = lease.device
 AND reading.recorded_time >= lease.taken_at
 AND (lease.state NOT IN ('ended', 'bought') OR reading.recorded_time <= lease.changed_at)
WHERE lease.south IS NOT NULL
  AND ((reading.metric = 'latitude'
        AND (reading.value < lease.south - :tolerance OR reading.value > lease.north + :tolerance))
       OR (reading.metric = 'longitude'
           AND (reading.value < lease.west - :tolerance OR reading.value > lease.east + :tolerance)))
GROUP BY lease.lease_id
ORDER BY lease.lease_id
