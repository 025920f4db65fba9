-- id: device-portrait
-- title: Portrait of a device
-- title-zh: 设备画像
-- clause: second-hand trade rules, art. 15: a portrait says what the ledger says of a device, all of it, as of a height
-- clause-zh: 二手设备交易规则第十五条：设备画像应完整反映截至某一高度账本所载该设备的全部情况
-- severity: info
-- subject: device_id
-- owner: owner
SELECT device.device_id AS device_id,
       device.owner AS owner,
       device.maker AS maker,
       device.model AS model,
       device.state AS device_state,
       device.registered_at AS registered_at,
       device.transfers AS transfers,
       (SELECT MAX(value) FROM operation_supervision.reading AS it
        WHERE it.device = device.device_id AND metric = 'hours') AS hours,
       (SELECT COUNT(*)
        FROM operation_supervision.watch AS watch
        JOIN operation_supervision.reading AS reading
          ON reading.device = watch.device AND reading.metric = watch.metric
        WHERE watch.device = device.device_id
          AND (reading.value > watch.high OR reading.value < watch.low)) AS over_limit,
       (SELECT COUNT(*) FROM maintenance.work_order AS it
        WHERE it.device = device.device_id AND state IN ('done', 'confirmed', 'settled')) AS repairs,
       (SELECT COUNT(*) FROM maintenance.part AS it WHERE it.device = device.device_id) AS parts,
       (SELECT COUNT(*) FROM second_hand.damage AS it
        WHERE it.device = device.device_id AND state <> 'denied') AS damages,
       (SELECT COALESCE(SUM(amount), 0) FROM second_hand.damage AS it
        WHERE it.device = device.device_id) AS damages_paid,
       (SELECT COUNT(*) FROM second_hand.damage AS it
        WHERE it.device = device.device_id AND state IN ('reported', 'compensated')) AS unrepaired,
       (SELECT COUNT(*) FROM leasing.lease AS it
        WHERE it.device = device.device_id AND taken_at IS NOT NULL) AS leases,
       (SELECT COUNT(*) FROM second_hand.trade AS it
        WHERE it.device = device.device_id AND state IN ('sold', 'paid-out')) AS sales
FROM device_registry.device AS device
WHERE :device = '' OR device.device_id = :device
ORDER BY device.device_id
