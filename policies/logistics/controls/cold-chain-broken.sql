-- id: cold-chain-broken
-- title: Temperature outside what was agreed
-- title-zh: 温度超出约定范围
-- clause: cold chain rules, art. 5: goods stay within the agreed temperatures without a break
-- clause-zh: 冷链运输规则第五条：货物全程处于约定温度范围内，不得中断
-- severity: high
-- subject: excursion_id
-- owner: owner
SELECT excursion.excursion_id AS excursion_id,
       excursion.consignment AS consignment,
       excursion.owner AS owner,
       excursion.leg_number AS leg_number,
       excursion.device AS device,
       MIN(reading.value) AS lowest,
       MAX(reading.value) AS highest,
       consignment.temp_low AS low,
       consignment.temp_high AS high,
       COUNT(*) AS readings,
       excursion.started_at AS started_at,
       MAX(reading.measured_at) AS last_measured_at
FROM logistics.excursion AS excursion
JOIN logistics.consignment AS consignment
  ON consignment.consignment_id = excursion.consignment
JOIN operation_supervision.reading AS reading
  ON reading.device = excursion.device
 AND reading.metric = 'temperature'
 AND reading.measured_at >= excursion.started_at
 AND (excursion.ended_at IS NULL OR reading.measured_at < excursion.ended_at)
WHERE excursion.metric = 'temperature'
  AND (reading.value > consignment.temp_high OR reading.value < consignment.temp_low)
GROUP BY excursion.excursion_id
HAVING MAX(reading.measured_at) - excursion.started_at >= :minutes * 60000
ORDER BY excursion.excursion_id
