-- id: silent-device
-- title: Watched devices that have gone silent
-- title-zh: 静默的受监测设备
-- clause: operation supervision rules, art. 5: a watched device reports in time
-- clause-zh: 运行监管规则第五条：受监测设备应按时上报
-- severity: medium
-- subject: device
-- each: watch_id
-- owner: owner
SELECT watch.device AS device,
       device.owner AS owner,
       watch.metric AS metric,
       watch.watch_id AS watch_id,
       :as_of_time - COALESCE(MAX(reading.recorded_time), watch.set_at) AS silent_for,
       watch.max_gap AS max_gap,
       COALESCE(MAX(reading.recorded_time), watch.set_at) AS last_heard_at
FROM operation_supervision.watch AS watch
JOIN device_registry.device AS device
  ON device.device_id = watch.device AND device.state = 'active'
LEFT JOIN operation_supervision.reading AS reading
  ON reading.device = watch.device AND reading.metric = watch.metric
WHERE watch.state = 'open'
GROUP BY watch.watch_id
HAVING :as_of_time - COALESCE(MAX(reading.recorded_time), watch.set_at) > watch.max_gap + :grace
ORDER BY watch.device, watch.watch_id
