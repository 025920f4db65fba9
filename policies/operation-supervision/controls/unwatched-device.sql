-- id: unwatched-device
-- title: Devices in service that nobody watches
-- title-zh: 无人监测的在用设备
-- clause: operation supervision rules, art. 3: every device in service is watched
-- clause-zh: 运行监管规则第三条：每台在用设备均应受监测
-- severity: info
-- subject: device_id
-- owner: owner
SELECT device.device_id AS device_id,
       device.owner AS owner,
       device.model AS model,
       device.registered_at AS registered_at
FROM device_registry.device AS device
LEFT JOIN operation_supervision.watch AS watch
  ON watch.device = device.device_id AND watch.state = 'open'
WHERE device.state = 'active'
  AND :as_of_time - device.registered_at > :grace
  AND watch.watch_id IS NULL
ORDER BY device.device_id
