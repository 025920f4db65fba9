-- id: over-limit
-- title: Readings beyond a watch's limits
-- title-zh: 超出监测限值的读数
-- clause: operation supervision rules, art. 4: values stay within the limits that were set
-- clause-zh: 运行监管规则第四条：测量值应在设定的限值之内
-- severity: high
-- subject: device
-- each: watch_id
-- owner: owner
SELECT reading.device AS device,
       device.owner AS owner,
       reading.metric AS metric,
       COUNT(*) AS readings,
       MIN(reading.value) AS lowest,
       MAX(reading.value) AS highest,
       watch.low AS low,
       watch.high AS high,
       watch.watch_id AS watch_id,
       MIN(reading.measured_at) AS first_measured_at,
       MAX(reading.measured_at) AS last_measured_at
FROM operation_supervision.watch AS watch
JOIN operation_supervision.reading AS reading
  ON reading.device = watch.device AND reading.metric = watch.metric
JOIN device_registry.device AS device
  ON device.device_id = watch.device
WHERE watch.state = 'open'
  AND (reading.value > watch.high + :tolerance
       OR (watch.low IS NOT NULL AND reading.value < watch.low - :tolerance))
GROUP BY watch.watch_id
ORDER BY reading.device, watch.watch_id
